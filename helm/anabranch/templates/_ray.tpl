{{/* Probes of a port. KubeRay's own ask Ray's dashboard agent, which is not in the image: it would end each pod. */}}
{{- define "anabranch.rayProbes" -}}
readinessProbe:
  tcpSocket:
    port: {{ . }}
  periodSeconds: 5
livenessProbe:
  tcpSocket:
    port: {{ . }}
  initialDelaySeconds: 60
  periodSeconds: 20
  timeoutSeconds: 10
  failureThreshold: 10
{{- end }}
