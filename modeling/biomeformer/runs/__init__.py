"""Mechanisms of long runs: the processes of a job, and stopping on a signal."""
