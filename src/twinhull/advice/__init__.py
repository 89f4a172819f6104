"""Container, virtual machine or machine: a table of rules, what it is asked, and what it answers (pure)."""
