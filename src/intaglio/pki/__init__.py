"""Names, profiles, issuers and the hierarchy; pure: `now` is always an argument."""
