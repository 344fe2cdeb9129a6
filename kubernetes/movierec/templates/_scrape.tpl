{{- /* What Prometheus scrapes of this release's pods. Its own configuration and the monitors of an operator have the same labels. */ -}}

{{- /* The name of the containers' port for each job of monitoring/prometheus/prometheus.yml. */ -}}
{{- define "movierec.scrape.ports" -}}
service: metrics
mtail: mtail
shipper: shipper
{{- end -}}

{{- /* The rules for a target's labels: (list $ "JOB"). Series have the name of their pod, which no later pod takes over. */ -}}
{{- define "movierec.scrape.target" -}}
{{- $root := index . 0 -}}
{{- $component := "__meta_kubernetes_pod_label_app_kubernetes_io_component" -}}
{{- $rules := list (dict "source_labels" (list "__meta_kubernetes_pod_name") "target_label" "pod") -}}
{{- if eq (index . 1) "service" -}}
{{- $names := list $component "__meta_kubernetes_pod_name" -}}
{{- $track := list $component "__meta_kubernetes_pod_label_movierec_track" -}}
{{- $rules = concat $rules (list
  (dict "source_labels" $names "regex" "canary;.*" "replacement" "canary" "target_label" "service")
  (dict "source_labels" $names "regex" (printf "(?:stable|service);%s-(.+)" $root.Release.Name) "target_label" "service")
  (dict "source_labels" $track "regex" "service;canary" "replacement" "canary" "target_label" "service")
) -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{- /* The rules for the labels of series: (list $ JOB), a job of monitoring/prometheus/prometheus.yml. */ -}}
{{- define "movierec.scrape.series" -}}
{{- $job := index . 1 -}}
{{- $rules := $job.metric_relabel_configs | default list -}}
{{- if eq $job.job_name "mtail" -}}
{{- $rules = append $rules (dict "source_labels" (list "service") "regex" "(stable|canary).*" "target_label" "track") -}}
{{- end -}}
{{- toYaml $rules -}}
{{- end -}}

{{- /*
The kubelets' metrics of containers, as the job of cAdvisor: (list $ JOB). A kubelet's certificate is often its own, so nobody checks it.
A container is named POD/CONTAINER, and that of a service as its service.
*/ -}}
{{- define "movierec.scrape.containers" -}}
{{- $root := index . 0 -}}
{{- $job := index . 1 -}}
{{- $account := "/var/run/secrets/kubernetes.io/serviceaccount" -}}
{{- $names := list "pod" "container" -}}
{{- $kept := splitList ";" (first $job.metric_relabel_configs).regex | first -}}
{{- $series := list
  (dict "source_labels" (list "__name__" "namespace" "pod" "container") "action" "keep"
    "regex" (printf "%s;%s;%s-.+;.+" $kept $root.Release.Namespace $root.Release.Name))
  (dict "source_labels" $names "regex" (printf "%s-(.+);(.+)" $root.Release.Name) "replacement" "$1/$2" "target_label" "service")
  (dict "source_labels" $names "regex" (printf "%s-(.+);service" $root.Release.Name) "target_label" "service")
  (dict "source_labels" $names "regex" (printf "%s-canary-.+;service" $root.Release.Name) "replacement" "canary" "target_label" "service")
  (dict "regex" "id|image|name" "action" "labeldrop")
-}}
{{- $job = omit $job "static_configs" -}}
{{- $job = merge (dict
  "kubernetes_sd_configs" (list (dict "role" "node"))
  "scheme" "https"
  "metrics_path" "/metrics/cadvisor"
  "authorization" (dict "credentials_file" (printf "%s/token" $account))
  "tls_config" (dict "insecure_skip_verify" true)
  "metric_relabel_configs" $series
) $job -}}
{{- toYaml $job -}}
{{- end -}}

{{- /*
The groups of rules in a file of monitoring/prometheus/rules, without some alerts: (list $ "FILE" (list "ALERT"...)). A kubelet knows pods
and no tracks, so a container and its service are compared by the pod.
*/ -}}
{{- define "movierec.scrape.rules" -}}
{{- $left := index . 2 -}}
{{- $groups := list -}}
{{- $text := include "movierec.file" (list (index . 0) (printf "monitoring/prometheus/rules/%s" (index . 1))) -}}
{{- range ($text | replace "unless on (service) container_memory_rss" "unless on (pod) container_memory_rss" | fromYaml).groups -}}
{{- $rules := list -}}
{{- range .rules -}}
{{- if not (has (get . "alert") $left) -}}{{- $rules = append $rules . -}}{{- end -}}
{{- end -}}
{{- if $rules -}}{{- $groups = append $groups (dict "name" .name "rules" $rules) -}}{{- end -}}
{{- end -}}
{{- toYaml (dict "groups" $groups) -}}
{{- end -}}
