"""Work that goes from data to scores in one command: studies of many trainings, and fine-tuning."""
