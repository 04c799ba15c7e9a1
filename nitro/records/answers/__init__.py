"""What replies say, in each protocol: JSON or the events of a stream → an Answer. Servers of any make are read."""
