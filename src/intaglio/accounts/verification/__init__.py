"""How people are verified before they are certified: mechanisms, approved one by one, and what each request shows."""
