"""Clusters of Kubernetes pods: Dask over the Dask operator, Ray over KubeRay."""
