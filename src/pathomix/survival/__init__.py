"""NumPy kernels of survival analysis: concordance, Cox partial likelihood, ridge solver, time bins."""
