{{/* What each use of the API asks for, and nothing more: given {kubernetesCluster, rayOnKubernetes, submit}. */}}
{{- define "anabranch.rules" -}}
- apiGroups: [""]
  resources: [pods, events]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
{{- if .kubernetesCluster }}
- apiGroups: [kubernetes.dask.org]
  resources: [daskclusters]
  verbs: [create, get, list, patch, delete]
- apiGroups: [kubernetes.dask.org]
  resources: [daskworkergroups]
  verbs: [get, list, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, delete]
{{- end }}
{{- if .rayOnKubernetes }}
- apiGroups: [ray.io]
  resources: [rayclusters]
  verbs: [create, get, list, patch, delete]
# The token of a cluster that it has made lies in a Secret, whose name is not known before.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get]
{{- end }}
{{- if .submit }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [create, get, list, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [create, get]
{{- end }}
{{- end }}
