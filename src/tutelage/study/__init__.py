"""Compare methods, students and teachers over seeds: the trainings of a study, their statistics and their page."""
