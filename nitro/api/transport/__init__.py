"""Between the server and its clients: the certificate, proxies in front, and the headers that every reply has."""
