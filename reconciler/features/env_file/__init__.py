"""`relinkd.env-file`: a file in the recipient with the variables of its links."""
