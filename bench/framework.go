package main

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// frameworkFiles are what npm installs, with the versions pinned, and the function.
//
//go:embed testdata/framework/package.json testdata/framework/package-lock.json testdata/framework/index.js
var frameworkFiles embed.FS

// framework is Google's framework for functions in Node.js, installed for one run; without a folder it is missing.
type framework struct{ folder, version string }

const (
	// frameworkFolder hands the folder to this program in its own network, in which npm reaches no registry.
	frameworkFolder = "GANTRY_BENCH_FRAMEWORK"
	// frameworkMissing is there in place of a folder.
	frameworkMissing = "missing"
	frameworkPrefix  = "gantry-bench-framework-"
)

// installLimit is how long npm may take.
const installLimit = 3 * time.Minute

// peers are the sections that compare with the framework.
var peers = map[string]bool{"throughput": true, "http": true}

// frameworkModule is the folder of the framework's package below the folder where it is installed.
const frameworkModule = "node_modules/@google-cloud/functions-framework"

// provideFramework installs it for the sections that compare with it, once, and leaves the folder in the environment.
// Without npm or a registry those sections do without, and say so.
func provideFramework(ctx context.Context, chosen []section) error {
	if os.Getenv(frameworkFolder) != "" || !slices.ContainsFunc(chosen, func(s section) bool { return peers[s.name] }) {
		return nil
	}
	folder, err := installFramework(ctx)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		progress("functions-framework will NOT be compared with: %v", err)
		folder = frameworkMissing
	}
	return os.Setenv(frameworkFolder, folder)
}

// installFramework installs the pinned version into a temporary folder.
func installFramework(ctx context.Context) (folder string, err error) {
	ctx, cancel := context.WithTimeout(ctx, installLimit)
	defer cancel()
	made, err := os.MkdirTemp("", frameworkPrefix)
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(made))
		}
	}()
	files, err := fs.Sub(frameworkFiles, "testdata/framework")
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(made, files); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(
		ctx, "npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error",
		"--fetch-retries=1", "--fetch-retry-mintimeout=1000",
	)
	cmd.Dir, cmd.WaitDelay = made, 10*time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // npm then ends what it started
	progress("npm installs @google-cloud/functions-framework")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w: %s", errors.Join(err, ctx.Err()), firstLine(string(text)))
	}
	return made, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// installed looks at what provideFramework left.
func installed() (framework, error) {
	folder := os.Getenv(frameworkFolder)
	if !strings.HasPrefix(filepath.Base(folder), frameworkPrefix) { // it will be removed
		return framework{}, nil
	}
	text, err := os.ReadFile(filepath.Join(folder, filepath.FromSlash(frameworkModule), "package.json"))
	if err != nil {
		return framework{folder: folder}, err
	}
	var module struct{ Version string }
	if err := json.Unmarshal(text, &module); err != nil {
		return framework{folder: folder}, fmt.Errorf("%s: %w", frameworkModule, err)
	}
	return framework{folder: folder, version: module.Version}, nil
}

// upFramework starts the framework around the handler of testdata/function, as its images do: for production.
func (b *bench) upFramework(ctx context.Context) (*server, error) {
	addr := freeAddr()
	args := []string{
		b.node, filepath.Join(b.framework.folder, filepath.FromSlash(frameworkModule), "build", "src", "main.js"),
		"--target=handler", "--source=" + b.framework.folder, "--port=" + port(addr),
	}
	return b.up(ctx, "functions-framework", addr, "", pinned(pinServer, args), []string{"NODE_ENV=production"})
}

// withoutFramework is the remark of a section that could not compare with it.
func (b *bench) withoutFramework(section string) *row {
	return &row{section: section, figure: "functions-framework is not installed: NOT compared with it"}
}
