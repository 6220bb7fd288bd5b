{{/* What may be reached: names, the database, and what else is said. */}}
{{- define "intaglio.egress" -}}
egress:
  - ports:
      - port: 53
        protocol: UDP
      - port: 53
        protocol: TCP
    to:
      - namespaceSelector:
          matchLabels:
            kubernetes.io/metadata.name: kube-system
  - ports:
      - port: {{ .Values.networkPolicy.databasePort }}
    to:
      {{- if not .Values.networkPolicy.database }}{{ fail "networkPolicy.database says where PostgreSQL is" }}{{ end }}
      {{- toYaml .Values.networkPolicy.database | nindent 6 }}
  {{- with .Values.networkPolicy.egress }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
