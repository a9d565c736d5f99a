"""The doctor: finds and repairs inconsistencies of a study, and checks the machine."""
