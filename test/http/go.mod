module gantry/test/http

go 1.26.0

require (
	gantry/test/harness v0.0.0
	github.com/stretchr/testify v1.12.1
)

require (
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace gantry/test/harness => ../harness
