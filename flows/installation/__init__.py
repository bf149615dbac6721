"""`rectory up`: the servers, the worker and the deployments of a project, started together and kept running."""
