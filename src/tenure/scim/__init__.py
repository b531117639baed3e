"""SCIM 2.0 (RFC 7643, RFC 7644): a directory says who may log in, and who has left."""
