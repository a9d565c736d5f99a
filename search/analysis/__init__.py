"""Analysis: verdict, data-size curve, importance, Pareto front, confusion."""
