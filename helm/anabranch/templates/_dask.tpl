{{/* Bytes at which a worker is ended by its nanny: before the kernel ends it without a word. */}}
{{- define "anabranch.workerMemory" -}}
{{- with .Values.dask.workers -}}
{{ .memoryLimit | default (dig "limits" "memory" "" .resources) }}
{{- end -}}
{{- end }}

{{/* The authority and certificate of the release: {ca.crt, tls.crt, tls.key}, of the cluster's own Secret if it is there.
     Made once a rendering, since scheduler, workers and Secret all look at it. */}}
{{- define "anabranch.certificates" -}}
{{- if not (hasKey .Values "_certificates") -}}
{{- $old := (lookup "v1" "Secret" .Release.Namespace (include "anabranch.tlsSecret" .)).data -}}
{{- if $old -}}
{{- $_ := set .Values "_certificates" $old -}}
{{- else -}}
{{- $ca := genCA (printf "%s Dask" (include "anabranch.fullname" .)) 3650 -}}
{{- $made := genSignedCert (include "anabranch.schedulerService" .) nil (list (include "anabranch.schedulerService" .)) 3650 $ca -}}
{{- $_ := set .Values "_certificates" (dict "ca.crt" ($ca.Cert | b64enc) "tls.crt" ($made.Cert | b64enc) "tls.key" ($made.Key | b64enc)) -}}
{{- end -}}
{{- end -}}
{{- toYaml (index .Values "_certificates") -}}
{{- end }}

{{/* Pods start anew when the chart's own certificates change. */}}
{{- define "anabranch.tlsChecksum" -}}
{{- if and .Values.dask.tls.enabled (not .Values.dask.tls.existingSecret) -}}
checksum/dask-tls: {{ include "anabranch.certificates" . | sha256sum }}
{{- else -}}
{}
{{- end -}}
{{- end }}
