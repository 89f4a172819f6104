"""What is made of a finished comparison: pure functions from its JSON document to texts, pages and decisions."""
