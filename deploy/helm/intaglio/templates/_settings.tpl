{{/* intaglio.toml: the operator's settings, and over them the chart's. Takes root and makers. */}}
{{- define "intaglio.settings" -}}
{{- $root := .root -}}
{{- $own := dict
  "api" (dict "bind" "0.0.0.0" "port" 8443)
  "public" (dict "bind" "0.0.0.0" "port" 8080)
  "health" (dict "bind" "0.0.0.0" "port" 8081)
  "keys" (dict "master_key" "credential:master-key")
  "database" (dict "url" "credential:database")
  "pool" (dict "makers" .makers)
-}}
{{- if $root.Values.hsm.enabled -}}
{{- $_ := set $own "hsm" (dict
  "module" $root.Values.hsm.module
  "token_label" (required "hsm.tokenLabel says which token" $root.Values.hsm.tokenLabel)
  "pin" "credential:hsm-pin"
  "identities" $root.Values.hsm.identities
) -}}
{{- else -}}
{{- $_ := required "without a token, epochs.existingClaim is where the secrets of epochs are" $root.Values.epochs.existingClaim -}}
{{- $_ := set $own.keys "epoch_folder" "/var/lib/intaglio-epochs/epochs" -}}
{{- end -}}
{{- if $root.Values.metrics.enabled -}}
{{- if not (or $root.Values.networkPolicy.enabled $root.Values.metrics.exposed) }}{{ fail "without networkPolicy, everybody in the cluster reads metrics: metrics.exposed: true says that they may, metrics.enabled: false leaves them out" }}{{ end -}}
{{- $_ := set $own "metrics" (dict "bind" "0.0.0.0" "port" 9090) -}}
{{- end -}}
{{- if $root.Values.front.peers -}}
{{- $_ := set $own "front" (dict
  "bind" "0.0.0.0"
  "port" 8444
  "peers" $root.Values.front.peers
  "ca_file" "/run/front/front.crt"
) -}}
{{- end -}}
{{- /* Numbers of values are floating point to Helm. */ -}}
{{- regexReplaceAll "(?m)= (-?[0-9]+)\\.0$" (toToml (mergeOverwrite (deepCopy $root.Values.settings) $own)) "= ${1}" -}}
{{- end }}
