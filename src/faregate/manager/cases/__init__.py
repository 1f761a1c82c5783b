"""What the manager can do, a module for each kind of thing: admin API and command line only word it."""
