// Command go is the function of the conformance suite: the event's member "do" says what it does.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"gantry/function"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type event map[string]any

func (e event) number(name string) int {
	n, _ := e[name].(float64)
	return int(n)
}

var ready = "not ready"

func main() {
	function.Start(handle, function.Initializer(func(ctx context.Context) error {
		ready = function.FromContext(ctx).GetUserData("ready")
		return nil
	}))
}

func handle(ctx context.Context, e event) (any, error) {
	c := function.FromContext(ctx)
	id := c.GetRequestID()
	if e["httpMethod"] != nil { // of API Gateway: what to do is in the body
		body, err := base64.StdEncoding.DecodeString(fmt.Sprint(e["body"]))
		if err != nil {
			return nil, err
		}
		e = nil
		if err := json.Unmarshal(body, &e); err != nil {
			return nil, err
		}
	}
	switch e["do"] {
	case nil:
		if e["pad"] != nil {
			text, err := json.Marshal(e)
			return len(text), err
		}
		return map[string]any{"event": e}, nil
	case "value":
		return e["value"], nil
	case "text":
		return strings.Repeat("x", e.number("n")), nil
	case "none":
		return nil, nil
	case "odd":
		return make(chan int), nil
	case "raise":
		return nil, errors.New("no luck")
	case "panic":
		panic("out of luck")
	case "context":
		left := c.GetRemainingTimeInMilliSeconds()
		return map[string]any{
			"id":      id,
			"left":    left > 0 && left <= 10000,
			"name":    c.GetFunctionName(),
			"version": c.GetVersion(),
			"package": c.GetPackage(),
			"project": c.GetProjectID(),
			"memory":  strconv.Itoa(c.GetMemorySize()),
			"cpu":     strconv.Itoa(c.GetCPUNumber()),
			"timeout": strconv.Itoa(c.GetRunningTimeInSeconds()),
			"data":    c.GetUserData("from"),
			"alias":   c.GetAlias(),
			"keys": strings.Join(
				[]string{c.GetSecurityAccessKey(), c.GetSecuritySecretKey(), c.GetSecurityToken(), c.GetToken()},
				" ",
			),
		}, nil
	case "log":
		log := c.GetLogger()
		log.Slog().Debug("not shown")
		log.Logf("i %d", 1)
		log.Slog().Warn("w")
		log.Slog().Error("e")
		return "logged", nil
	case "print":
		fmt.Println("out", id)
		fmt.Fprintln(os.Stderr, "err", id)
		return "printed", nil
	case "child":
		cmd := exec.Command("echo", "child "+id)
		cmd.Stdout = os.Stdout
		return "done", cmd.Run()
	case "flood":
		for i := range e.number("n") {
			fmt.Println("line", i)
		}
		return "flooded", nil
	case "sleep":
		time.Sleep(time.Duration(e.number("ms")) * time.Millisecond)
		c.GetLogger().Logf("woke %s", id)
		return "slept", nil
	case "ready":
		return ready, nil
	case "loop":
		for {
		}
	case "exit":
		os.Exit(7)
	case "kill":
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return nil, err
		}
		time.Sleep(time.Minute)
	}
	return nil, fmt.Errorf("unknown deed %q", e["do"])
}
