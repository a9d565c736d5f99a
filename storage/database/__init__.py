"""The database: engine, tickets, leases, study control, finals and curve results."""
