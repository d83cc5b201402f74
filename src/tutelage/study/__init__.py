"""Studies: methods, students, teachers and seeds under one protocol, and what the results say."""
