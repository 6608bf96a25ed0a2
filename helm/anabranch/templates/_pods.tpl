{{/* What all pods have in common. Each part is given (dict "root" $ "component" WHAT "values" ITS-SECTION).

       metadata:  labels that select it, the section's own, whether it may be moved
       pod:       account, security, image secrets, where it runs, volumes
       container: image, security, mounts                         (before its own words, ports and probes)
       env:       variables of all pods, then those of its role   (before its own)
*/}}

{{- define "anabranch.podMetadata" -}}
labels:
  {{- include "anabranch.selector" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
  {{- with merge (dict) .values.podLabels .root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $stays := dict }}
{{- if not .values.evictable }}
{{- $stays = dict "cluster-autoscaler.kubernetes.io/safe-to-evict" "false" "karpenter.sh/do-not-disrupt" "true" }}
{{- end }}
{{- with merge (dict) .values.podAnnotations $stays (.annotations | default dict) .root.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "anabranch.pod" -}}
{{- $needs := or (and (eq .component "driver") (eq (include "anabranch.driverNeedsToken" .root) "true")) (and (eq .component "ray-head") .root.Values.ray.workers.autoscaling.enabled) -}}
automountServiceAccountToken: {{ $needs }}
enableServiceLinks: false
{{- if eq .component "driver" }}
serviceAccountName: {{ include "anabranch.driverAccount" .root }}
{{- end }}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .root.Values.podSecurityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.terminationGracePeriodSeconds }}
terminationGracePeriodSeconds: {{ . }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumes:
  - name: tmp
    emptyDir: {}
  - name: home
    emptyDir: {}
  {{- if and .root.Values.persistence.enabled (has .component (list "driver" "worker" "ray-worker")) }}
  - name: data
    persistentVolumeClaim:
      claimName: {{ include "anabranch.claim" .root }}
  {{- end }}
  {{- if has .component (list "driver" "ray-head" "ray-worker") }}
  - name: shared-memory
    emptyDir:
      medium: Memory
      sizeLimit: {{ .values.sharedMemory | default .root.Values.ray.workers.sharedMemory }}
  {{- end }}
  {{- with .volumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "anabranch.container" -}}
image: {{ include "anabranch.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
{{- with .root.Values.securityContext }}
securityContext:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $from := .root.Values.extraEnvFrom }}
{{- if and .root.Values.results.existingSecret (has .component (list "driver" "worker" "ray-worker")) }}
{{- $from = prepend $from (dict "secretRef" (dict "name" .root.Values.results.existingSecret)) }}
{{- end }}
{{- with $from }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: home
    mountPath: {{ .root.Values.image.home }}
  {{- if and .root.Values.persistence.enabled (has .component (list "driver" "worker" "ray-worker")) }}
  - name: data
    mountPath: {{ .root.Values.persistence.mountPath }}
  {{- end }}
  {{- if has .component (list "driver" "ray-head" "ray-worker") }}
  - name: shared-memory
    mountPath: /dev/shm
  {{- end }}
  {{- with .mounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with .root.Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Variables of all pods, those of the section last: they win. Later entries of `env` may use earlier ones. */}}
{{- define "anabranch.env" -}}
- name: ANABRANCH_POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- if has .component (list "driver" "worker" "ray-worker") }}
{{- with include "anabranch.results" .root }}
- name: ANABRANCH_RESULTS
  value: {{ . | quote }}
{{- end }}
{{- end }}
{{- if eq .component "driver" }}
{{- include "anabranch.driverEnv" .root }}
{{- end }}
{{- if and .root.Values.dask.tls.enabled (has .component (list "driver" "scheduler" "worker")) }}
{{- include "anabranch.tlsEnv" (dict "root" .root "roles" (list (eq .component "driver" | ternary "client" .component))) }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- with .values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "anabranch.results" -}}
{{- if .Values.results.url -}}
{{ .Values.results.url }}
{{- else if .Values.persistence.enabled -}}
{{ .Values.persistence.mountPath }}/results
{{- end -}}
{{- end }}

{{/* Where the record is, and which clusters there are. */}}
{{- define "anabranch.driverEnv" }}
{{- if .Values.records.existingSecret }}
- name: ANABRANCH_RECORDS
  valueFrom:
    secretKeyRef:
      name: {{ .Values.records.existingSecret }}
      key: {{ .Values.records.existingSecretKey }}
{{- else if or .Values.records.url .Values.persistence.enabled }}
- name: ANABRANCH_RECORDS
  value: {{ .Values.records.url | default (printf "%s/records.db" .Values.persistence.mountPath) | quote }}
{{- end }}
{{- if ne .Values.dask.mode "none" }}
- name: DASK_SCHEDULER_ADDRESS
  value: {{ include "anabranch.schedulerAddress" . | quote }}
{{- end }}
{{- if .Values.ray.enabled }}
- name: RAY_ADDRESS
  value: {{ include "anabranch.rayAddress" . | quote }}
- name: RAY_AUTH_MODE
  value: token
- name: RAY_AUTH_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "anabranch.rayTokenSecret" . }}
      key: auth_token
{{- end }}
{{- end }}

{{/* Dask's own configuration, by variables. It takes texts as well as paths, so that no file has to be mounted. */}}
{{- define "anabranch.tlsEnv" }}
- name: DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION
  value: "true"
- name: DASK_DISTRIBUTED__COMM__TLS__CA_FILE
  valueFrom:
    secretKeyRef:
      name: {{ include "anabranch.tlsSecret" .root }}
      key: ca.crt
{{- range .roles }}
- name: DASK_DISTRIBUTED__COMM__TLS__{{ upper . }}__CERT
  valueFrom:
    secretKeyRef:
      name: {{ include "anabranch.tlsSecret" $.root }}
      key: tls.crt
- name: DASK_DISTRIBUTED__COMM__TLS__{{ upper . }}__KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "anabranch.tlsSecret" $.root }}
      key: tls.key
{{- end }}
{{- end }}

{{/* Only a driver that may do something with the cluster gets a token, and Ray's own autoscaler. */}}
{{- define "anabranch.driverNeedsToken" -}}
{{- with .Values.rbac -}}
{{- or .kubernetesCluster .rayOnKubernetes .submit -}}
{{- end -}}
{{- end }}
