{{/* The start of all objects' names. With the longest end, "-" flow (22) "-" hash (8), a name has 61 characters of the
     63 that labels hold; a CronJob's, which may have 52, ends with the flow. */}}
{{- define "anabranch.fullname" -}}
{{- $chart := .Values.nameOverride | default .Chart.Name -}}
{{- $name := .Values.fullnameOverride | default (contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart)) -}}
{{- if gt (len $name) 29 -}}
{{- $name = printf "%s-%s" ($name | trunc 20 | trimSuffix "-") ($name | sha256sum | trunc 8) -}}
{{- end -}}
{{- $name -}}
{{- end }}

{{- define "anabranch.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of objects. Pods have fewer: what changes with each version of the chart would start them anew. */}}
{{- define "anabranch.labels" -}}
{{ include "anabranch.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ include "anabranch.tag" . | trunc 63 | trimSuffix "-" | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The metadata of an object: (dict "root" $ "name" NAME "component" WHAT). */}}
{{- define "anabranch.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "anabranch.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- $annotations := merge (dict) (.annotations | default dict) .root.Values.commonAnnotations }}
{{- with $annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "anabranch.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ include "anabranch.tag" $ }}{{ end -}}
{{- end -}}
{{- end }}

{{/* A number is a tag too: `--set image.tag=20261130`; as a float it would be 2.026113e+07. */}}
{{- define "anabranch.tag" -}}
{{- with .Values.image.tag -}}
{{ kindIs "string" . | ternary . (int64 . | toString) }}
{{- else -}}
{{ $.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{- define "anabranch.schedulerService" -}}
{{ include "anabranch.fullname" . }}-scheduler
{{- end }}

{{- define "anabranch.schedulerAddress" -}}
{{ .Values.dask.tls.enabled | ternary "tls" "tcp" }}://{{ include "anabranch.schedulerService" . }}.{{ .Release.Namespace }}.svc:8786
{{- end }}

{{- define "anabranch.tlsSecret" -}}
{{ .Values.dask.tls.existingSecret | default (printf "%s-dask-tls" (include "anabranch.fullname" .)) }}
{{- end }}

{{/* KubeRay's own Service of the head. */}}
{{- define "anabranch.rayAddress" -}}
{{ include "anabranch.fullname" . }}-head-svc.{{ .Release.Namespace }}.svc:6379
{{- end }}

{{- define "anabranch.rayTokenSecret" -}}
{{ .Values.ray.existingTokenSecret | default (include "anabranch.fullname" .) }}
{{- end }}

{{- define "anabranch.driverAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "anabranch.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end }}

{{- define "anabranch.claim" -}}
{{ .Values.persistence.existingClaim | default (printf "%s-data" (include "anabranch.fullname" .)) }}
{{- end }}
