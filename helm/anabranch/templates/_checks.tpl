{{/* What the schema cannot say: values that contradict each other or the cluster. All of them are told at once. */}}
{{- define "anabranch.checks" -}}
{{- $wrong := list -}}
{{- with .Values -}}
{{- $exposed := ne .dask.scheduler.serviceType "ClusterIP" -}}
{{- if not .image.repository -}}
{{- $wrong = append $wrong "image.repository is empty: there is no public image; build helm/image/Containerfile, push it, and name it here" -}}
{{- end -}}
{{- if .server.enabled -}}
{{- $wrong = append $wrong "server.enabled: this chart does not install the server yet; leave it false, and start one with `anabranch server start` (docs/server.md)" -}}
{{- end -}}
{{- if regexMatch "^[0-9]" (include "anabranch.fullname" $) -}}
{{- $wrong = append $wrong (printf "the name %q begins with a digit, which Services may not: set fullnameOverride" (include "anabranch.fullname" $)) -}}
{{- end -}}
{{- if and .records.url .records.existingSecret -}}
{{- $wrong = append $wrong "records.url and records.existingSecret both say where the record is: give one of them" -}}
{{- end -}}
{{- $password := "://[^/@]*:[^/@]+@|(?i)[?&]([^=&]*[_.-])?(password|sslpassword|passwd|secret|token|key)=[^&]" -}}
{{- if regexMatch $password .records.url -}}
{{- $wrong = append $wrong "records.url has a password, which everybody with a right to read the release would see: put the address into a Secret, and name it in records.existingSecret" -}}
{{- end -}}
{{- if regexMatch $password .results.url -}}
{{- $wrong = append $wrong "results.url has a password, which everybody with a right to read the release would see: leave it out, and name a Secret in results.existingSecret whose keys are variables, ANABRANCH_RESULTS with the address or the store's own" -}}
{{- end -}}
{{- if and .dask.tls.enabled (ne .dask.mode "shared") -}}
{{- $wrong = append $wrong (printf "dask.tls is for dask.mode=shared, not %s: the Dask operator speaks plain TCP only; networkPolicy.enabled keeps others out there" .dask.mode) -}}
{{- end -}}
{{- if and $exposed (not .dask.tls.enabled) -}}
{{- $wrong = append $wrong (printf "dask.scheduler.serviceType=%s opens the scheduler to a network in which anybody could run code on it: enable dask.tls, or leave ClusterIP" .dask.scheduler.serviceType) -}}
{{- end -}}
{{- if and $exposed (eq .dask.mode "operator") -}}
{{- $wrong = append $wrong "dask.scheduler.serviceType is for dask.mode=shared: the operator's Service is a ClusterIP" -}}
{{- end -}}
{{- with .dask.workers.autoscaling -}}
{{- if and .enabled (eq $.Values.dask.mode "operator") -}}
{{- $wrong = append $wrong "dask.workers.autoscaling is for dask.mode=shared: the operator's autoscaler takes workers with values; use KubernetesCluster in the program" -}}
{{- end -}}
{{- if and .enabled (not (dig "requests" "cpu" "" ($.Values.dask.workers.resources | default dict))) -}}
{{- $wrong = append $wrong "dask.workers.autoscaling goes by processor load: give dask.workers.resources.requests.cpu" -}}
{{- end -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- $wrong = append $wrong "dask.workers.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- with .ray.workers.autoscaling -}}
{{- if and .enabled (gt (int .minReplicas) (int .maxReplicas)) -}}
{{- $wrong = append $wrong "ray.workers.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- range $name, $flow := .flows -}}
{{- $runner := $flow.runner | default $.Values.driver.runner -}}
{{- if eq (empty $flow.target) (empty $flow.code) -}}
{{- $wrong = append $wrong (printf "flows.%s wants one of `target` (in the image) and `code`" $name) -}}
{{- end -}}
{{- if and (eq $runner "dask") (eq $.Values.dask.mode "none") -}}
{{- $wrong = append $wrong (printf "flows.%s runs on dask, and dask.mode is none" $name) -}}
{{- end -}}
{{- if and (eq $runner "ray") (not $.Values.ray.enabled) -}}
{{- $wrong = append $wrong (printf "flows.%s runs on ray, and ray.enabled is false" $name) -}}
{{- end -}}
{{- if or (hasKey ($flow.params | default dict) "true") (hasKey ($flow.params | default dict) "false") -}}
{{- $wrong = append $wrong (printf "flows.%s.params has a name that YAML takes for true or false: write names like n, y, on, no in quotes" $name) -}}
{{- end -}}
{{- if gt (len ($flow.code | default "")) 900000 -}}
{{- $wrong = append $wrong (printf "flows.%s.code is too long for a ConfigMap (1 MiB): put the file into the image, and name it in `target`" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $wrong = concat $wrong (include "anabranch.missingKinds" . | fromYamlArray) -}}
{{- if $wrong -}}
{{- fail (printf "\n- %s\n" (join "\n- " $wrong)) -}}
{{- end -}}
{{- end }}

{{/* Kinds that these values need and the cluster does not have, as a list of sentences. */}}
{{- define "anabranch.missingKinds" -}}
{{- $scheduled := false -}}
{{- range .Values.flows }}{{ if .schedule }}{{ $scheduled = true }}{{ end }}{{ end -}}
{{- $api := .Capabilities.APIVersions -}}
{{- $server := .Capabilities.KubeVersion.Version -}}
{{- $shared := eq .Values.dask.mode "shared" -}}
{{- $missing := list -}}
{{- if and (eq .Values.dask.mode "operator") (not ($api.Has "kubernetes.dask.org/v1")) -}}
{{- $missing = append $missing "dask.mode=operator needs the Dask operator, which this cluster does not have: helm install --repo https://helm.dask.org --create-namespace -n dask-operator --generate-name dask-kubernetes-operator" -}}
{{- end -}}
{{- if and .Values.ray.enabled (not ($api.Has "ray.io/v1")) -}}
{{- $missing = append $missing "ray.enabled needs KubeRay, which this cluster does not have: helm install kuberay-operator --repo https://ray-project.github.io/kuberay-helm kuberay-operator" -}}
{{- end -}}
{{- if and $scheduled (semverCompare "<1.21-0" $server) -}}
{{- $missing = append $missing (printf "flows with a schedule need Kubernetes 1.21, and this is %s" $server) -}}
{{- end -}}
{{- if and $shared .Values.dask.workers.autoscaling.enabled (semverCompare "<1.23-0" $server) -}}
{{- $missing = append $missing (printf "dask.workers.autoscaling needs Kubernetes 1.23, and this is %s" $server) -}}
{{- end -}}
{{- if and $shared .Values.disruptionBudget.enabled (semverCompare "<1.21-0" $server) -}}
{{- $missing = append $missing (printf "disruptionBudget needs Kubernetes 1.21, and this is %s" $server) -}}
{{- end -}}
{{- toYaml $missing -}}
{{- end }}
