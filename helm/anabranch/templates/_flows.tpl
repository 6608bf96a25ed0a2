{{/* One flow's Job, given (dict "root" $ "name" NAME "flow" ITS-VALUES).

       args of the container:  bash -c files/driver.sh driver   waits for the engine, joins Ray, then becomes
                               anabranch run TARGET -p NAME=VALUE ... --runner RUNNER
*/}}
{{- define "anabranch.flowJob" -}}
{{- $runner := .flow.runner | default .root.Values.driver.runner -}}
{{- $engine := $runner | default (ne .root.Values.dask.mode "none" | ternary "dask" (.root.Values.ray.enabled | ternary "ray" "")) -}}
{{- $own := dict "extraEnv" (concat .root.Values.driver.extraEnv (.flow.extraEnv | default list)) -}}
{{- with .flow.resources }}{{ $_ := set $own "resources" . }}{{ end -}}
{{- $part := dict "root" .root "component" "driver" "values" (merge $own (omit .root.Values.driver "extraEnv" "resources") (dict "resources" .root.Values.driver.resources)) -}}
{{- $target := .flow.target -}}
{{- if .flow.code -}}
{{- $target = printf "/flows/%s.py" (.name | replace "-" "_") -}}
{{- with .flow.flow }}{{ $target = printf "%s:%s" $target . }}{{ end -}}
{{- $_ := set $part "annotations" (dict "checksum/code" (.flow.code | sha256sum)) -}}
{{- $_ := set $part "volumes" (list (dict "name" "flows" "configMap" (dict "name" (printf "%s-%s" (include "anabranch.fullname" .root) .name)))) -}}
{{- $_ := set $part "mounts" (list (dict "name" "flows" "mountPath" "/flows" "readOnly" true)) -}}
{{- end -}}
# A run that dies is there to resume: another start of the pod would be another run.
backoffLimit: 0
{{- with .flow.activeDeadlineSeconds }}
activeDeadlineSeconds: {{ . }}
{{- end }}
{{- if not (kindIs "invalid" .flow.ttlSecondsAfterFinished) }}
ttlSecondsAfterFinished: {{ .flow.ttlSecondsAfterFinished }}
{{- end }}
template:
  metadata:
    {{- include "anabranch.podMetadata" $part | nindent 4 }}
  spec:
    restartPolicy: Never
    {{- include "anabranch.pod" $part | nindent 4 }}
    containers:
      - name: driver
        {{- include "anabranch.container" $part | nindent 8 }}
        args:
          - bash
          - -c
          - {{ .root.Files.Get "files/driver.sh" | toJson }}
          - driver
          - anabranch
          - {{ .flow.command | default "run" }}
          - {{ $target | quote }}
          {{- range $name, $value := .flow.params }}
          - -p
          - {{ printf "%s=%s" $name (toJson $value) | replace "$(" "$$(" | toJson }}
          {{- end }}
          {{- with $runner }}
          - --runner
          - {{ . }}
          {{- end }}
        env:
          {{- include "anabranch.env" $part | nindent 10 }}
          - name: ENGINE
            value: {{ $engine | quote }}
{{- end }}
