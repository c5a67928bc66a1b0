"""Stand-ins for programs that the tests' machine does not have."""
