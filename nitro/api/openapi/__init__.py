"""The OpenAPI document, made of the request structs."""
