"""Who may do what: accounts, their policies, credentials and quotas."""
