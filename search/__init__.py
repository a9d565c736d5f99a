"""What to try next: settings, space, sampler, pruner, trial loop, finals, verdict, command line."""
