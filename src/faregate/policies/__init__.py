"""What a call passes: one folder per policy, all alike."""
