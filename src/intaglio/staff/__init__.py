"""The people who run the service: their keys and roles, what each may do, and what needs two of them."""
