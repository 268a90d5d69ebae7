"""Ten broken trainings, each in both frameworks, and a runner that shows what is recorded of them."""
