package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// recipe is one target of the Dockerfile: its configuration as it stands there, and what its files are made of. No
// instruction is run; each COPY and RUN has to be one that this program knows how to do without an engine.
type recipe struct {
	base    string    // the value of the argument that names the base, or "scratch"
	config  v1.Config // what the stage sets
	content []string  // keys of layers, in order
}

// copied are the sources of COPY --from, and the layers that stand for them.
var copied = map[string]string{
	"build:/bootstrap":              "agent",
	"binary:/bootstrap":             "agent",
	"build-queue:/gantry-jetstream": "queue",
	"root:/root-folder/":            "root",
}

// ran are the commands of RUN, up to white space, and the layers that stand for them. Those of the stages that compile
// have none: build.go does the same.
var ran = map[string]string{
	"go mod download": "",
	`CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /bootstrap ./bootstrap`: "",
	"chmod 0711 /bootstrap": "",
	`CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -ldflags "-s -w -X main.version=$VERSION -X main.commit=$COMMIT" -o /gantry-jetstream ./jetstream && chmod 0711 /gantry-jetstream`:                                                                                                           "",
	`mkdir -p /root-folder/etc/ssl/certs /root-folder/opt/function/code && mkdir -m 1777 /root-folder/tmp && echo 'function:x:1003:' > /root-folder/etc/group && echo 'function:x:1003:1003::/tmp:/usr/sbin/nologin' > /root-folder/etc/passwd && cp /etc/ssl/certs/ca-certificates.crt /root-folder/etc/ssl/certs/`: "",
	`{ grep -q '^[^:]*:[^:]*:1003:' /etc/group || echo 'function:x:1003:' >> /etc/group; } && { grep -q '^[^:]*:[^:]*:1003:' /etc/passwd || echo 'function:x:1003:1003::/tmp:/usr/sbin/nologin' >> /etc/passwd; } && mkdir -p /opt/function/code`:                                                                    "user",
}

// unreleased are the stages of the image for Java, which is no part of a release: it installs packages.
var unreleased = map[string]bool{"build-java": true, "java": true}

// dockerfile is the parsed file with the arguments of a build.
type dockerfile struct {
	stages []instructions.Stage
	global map[string]string // arguments before the first FROM, with the values of this build
}

// readDockerfile parses the file and refuses commands that this program does not know, in any stage of a
// release.
func readDockerfile(root string, values map[string]string) (*dockerfile, error) {
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		return nil, err
	}
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	stages, arguments, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		return nil, err
	}
	d := &dockerfile{stages: stages, global: map[string]string{}}
	for _, command := range arguments {
		for _, a := range command.Args {
			if value, given := values[a.Key]; given {
				d.global[a.Key] = value
			} else if a.Value != nil {
				d.global[a.Key] = *a.Value
			}
		}
	}
	for _, s := range stages {
		if unreleased[s.Name] {
			continue
		}
		for _, c := range s.Commands {
			if run, ok := c.(*instructions.RunCommand); ok {
				if _, known := ran[command(run)]; !known {
					return nil, fmt.Errorf("stage %s of the Dockerfile has a RUN that has no counterpart here: %s", s.Name, command(run))
				}
			}
		}
	}
	return d, nil
}

// command is the command line of a RUN with single spaces.
func command(run *instructions.RunCommand) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(strings.Join(run.CmdLine, " "), "\\\n", " ")), " ")
}

// recipe reads one target.
func (d *dockerfile) recipe(target string) (*recipe, error) {
	i, found := instructions.HasStage(d.stages, target)
	if !found {
		return nil, fmt.Errorf("the Dockerfile has no stage %q", target)
	}
	stage := d.stages[i]
	lex := shell.NewLex('\\')
	expand := func(word string, values map[string]string) (string, error) {
		var list []string
		for k, v := range values {
			list = append(list, k+"="+v)
		}
		expanded, _, err := lex.ProcessWord(word, shell.EnvsFromSlice(list))
		return expanded, err
	}
	r := &recipe{config: v1.Config{Labels: map[string]string{}, ExposedPorts: map[string]struct{}{}}}
	var err error
	if r.base, err = expand(stage.BaseName, d.global); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for _, c := range stage.Commands {
		if e, ok := c.(instructions.SupportsSingleWordExpansion); ok {
			if err := e.Expand(func(word string) (string, error) { return expand(word, values) }); err != nil {
				return nil, err
			}
		}
		if a, ok := c.(*instructions.ArgCommand); ok {
			for _, argument := range a.Args {
				values[argument.Key] = d.global[argument.Key]
			}
			continue
		}
		if err := r.apply(c); err != nil {
			return nil, fmt.Errorf("stage %s of the Dockerfile: %w", target, err)
		}
	}
	return r, nil
}

// apply adds one instruction to the recipe.
func (r *recipe) apply(c instructions.Command) error {
	switch c := c.(type) {
	case *instructions.CopyCommand:
		for _, source := range c.SourcePaths {
			layer, known := copied[c.From+":"+source]
			if !known || c.Chmod != "" || c.Chown != "" {
				return fmt.Errorf("a COPY that has no counterpart here: %s", c)
			}
			r.content = append(r.content, layer)
		}
	case *instructions.RunCommand:
		if layer := ran[command(c)]; layer != "" {
			r.content = append(r.content, layer)
		}
	case *instructions.LabelCommand:
		for _, l := range c.Labels {
			r.config.Labels[l.Key] = l.Value
		}
	case *instructions.EnvCommand:
		for _, e := range c.Env {
			r.config.Env = append(r.config.Env, e.Key+"="+e.Value)
		}
	case *instructions.ExposeCommand:
		for _, port := range c.Ports {
			if !strings.Contains(port, "/") {
				port += "/tcp"
			}
			r.config.ExposedPorts[port] = struct{}{}
		}
	case *instructions.UserCommand:
		r.config.User = c.User
	case *instructions.WorkdirCommand:
		r.config.WorkingDir = c.Path
	case *instructions.StopSignalCommand:
		r.config.StopSignal = c.Signal
	case *instructions.HealthCheckCommand:
		h := c.Health
		r.config.Healthcheck = &v1.HealthConfig{
			Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries,
		}
	case *instructions.EntrypointCommand:
		r.config.Entrypoint = c.CmdLine
	case *instructions.CmdCommand:
		r.config.Cmd = c.CmdLine
	default:
		return fmt.Errorf("an instruction that has no counterpart here: %s", c.Name())
	}
	return nil
}

// over is the configuration of an image on a base: what the stage does not set is the base's.
func (r *recipe) over(base v1.Config) v1.Config {
	c := *base.DeepCopy()
	for _, assignment := range r.config.Env {
		name, _, _ := strings.Cut(assignment, "=")
		c.Env = slices.DeleteFunc(c.Env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		c.Env = append(c.Env, assignment)
	}
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	for k, v := range r.config.Labels {
		c.Labels[k] = v
	}
	if c.ExposedPorts == nil {
		c.ExposedPorts = map[string]struct{}{}
	}
	for port := range r.config.ExposedPorts {
		c.ExposedPorts[port] = struct{}{}
	}
	set := func(to *string, value string) {
		if value != "" {
			*to = value
		}
	}
	set(&c.User, r.config.User)
	set(&c.WorkingDir, r.config.WorkingDir)
	set(&c.StopSignal, r.config.StopSignal)
	if r.config.Healthcheck != nil {
		c.Healthcheck = r.config.Healthcheck
	}
	if r.config.Entrypoint != nil {
		c.Entrypoint, c.Cmd = r.config.Entrypoint, r.config.Cmd // an ENTRYPOINT ends the base's CMD
	}
	return c
}
