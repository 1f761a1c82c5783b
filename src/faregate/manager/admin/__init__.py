"""The admin API: thin HTTP over the use cases in `cases`."""
