{{- define "intaglio.name" -}}
{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "intaglio.selector" -}}
app.kubernetes.io/name: intaglio
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "intaglio.labels" -}}
{{ include "intaglio.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "intaglio.image" -}}
{{- $image := .Values.image -}}
{{- $which := printf ":%s" ($image.tag | default .Chart.AppVersion) -}}
{{- if $image.digest }}{{ $which = printf "@%s" $image.digest }}{{ end -}}
{{ printf "%s%s" $image.repository $which | quote }}
{{- end }}
