// Command sdk is a function as one is that was built with the platform's Go SDK: it listens on RUNTIME_API_ADDR and
// serves Go's net/rpc over HTTP there, with the SDK's results and errors (docs/COMPATIBILITY.md). It stands in for the
// SDK, which no module proxy has. What it does is chosen by the event's member "do".
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/rpc"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"
)

// InvokeRequest and InvokeResponse travel.
type InvokeRequest struct {
	Payload []byte
	Header  http.Header
}

// InvokeResponse is the answer.
type InvokeResponse struct {
	StatusCode int
	Payload    []byte
}

// Function is the service.
type Function struct{}

type failure struct {
	ErrorMessage string   `json:"errorMessage"`
	ErrorType    string   `json:"errorType,omitempty"`
	StackTrace   []string `json:"stackTrace,omitempty"`
}

func (f failure) Error() string {
	text, err := json.MarshalIndent(f, "", "    ")
	if err != nil {
		log.Fatal(err)
	}
	return string(text)
}

type event struct {
	Do    string
	Value json.RawMessage
	N     int
	MS    int
	Pad   string
	Name  string
	// HTTPMethod and Body are of API Gateway: what to do is in the body.
	HTTPMethod string
	Body       []byte
}

// Invoke serves one call.
func (Function) Invoke(req *InvokeRequest, resp *InvokeResponse) (err error) {
	if req.Payload == nil {
		return errors.New("bad request parameters")
	}
	defer func() {
		if e := recover(); e != nil {
			pc, file, line, _ := runtime.Caller(2)
			name := runtime.FuncForPC(pc).Name()
			err = failure{
				fmt.Sprintf("%+v", e),
				"panic",
				[]string{
					name[strings.LastIndexByte(name, '.')+1:] + "()",
					fmt.Sprintf("    %s:%d", file[strings.LastIndexByte(file, '/')+1:], line),
				},
			}
		}
	}()
	result, err := handle(req)
	if err == nil && result == nil {
		err = errors.New("response is empty")
	}
	if err != nil {
		return failure{ErrorMessage: err.Error(), ErrorType: "FunctionReturnError"}
	}
	resp.StatusCode = http.StatusOK
	switch v := result.(type) {
	case string:
		resp.Payload = []byte(v)
	case []byte:
		resp.Payload = v
	default:
		resp.Payload, _ = json.Marshal(v) // what cannot be marshalled is an empty success there
	}
	if limit := os.Getenv("RUNTIME_MAX_RESP_BODY_SIZE"); limit != "" {
		var n int
		fmt.Sscan(limit, &n)
		if len(resp.Payload) > n {
			return failure{
				ErrorMessage: fmt.Sprintf("Response body size '%d' larger than max value '%d'.", len(resp.Payload), n),
				ErrorType:    "FunctionResponseTooLarge",
			}
		}
	}
	return nil
}

func handle(req *InvokeRequest) (any, error) {
	var e event
	if err := json.Unmarshal(req.Payload, &e); err != nil {
		return nil, err
	}
	if e.HTTPMethod != "" {
		if err := json.Unmarshal(e.Body, &e); err != nil {
			return nil, err
		}
	}
	id := req.Header.Get("X-CFF-Request-Id")
	switch e.Do {
	case "":
		switch {
		case e.Pad != "":
			return len(req.Payload), nil
		case e.Name != "": // for benchmarks
			return struct {
				StatusCode int    `json:"statusCode"`
				Body       string `json:"body"`
			}{200, e.Name}, nil
		}
		return map[string]any{"event": json.RawMessage(req.Payload)}, nil
	case "value":
		return e.Value, nil
	case "raw":
		return string(req.Payload), nil
	case "text":
		return strings.Repeat("x", e.N), nil
	case "bytes":
		return []byte("\x00\xff"), nil
	case "none":
		return nil, nil
	case "odd":
		return make(chan int), nil
	case "raise":
		return "", errors.New("no luck")
	case "panic":
		panic("out of luck")
	case "sleep":
		time.Sleep(time.Duration(e.MS) * time.Millisecond)
		fmt.Println("woke " + id)
		return "slept", nil
	case "loop":
		for {
			runtime.Gosched()
		}
	case "exit":
		fmt.Println("before the end")
		os.Exit(7)
	case "kill":
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return nil, err
		}
		time.Sleep(time.Minute)
	case "print":
		fmt.Printf("out %s\n", id)
		fmt.Fprintf(os.Stderr, "err %s", id) // a line without its end
		return "printed", nil
	case "child":
		cmd := exec.Command("echo", "child "+id)
		cmd.Stdout = os.Stdout
		return "done", cmd.Run()
	case "log": // as the SDK's Logf
		fmt.Printf("%s %s %s\n", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"), id, "i 1")
		return "logged", nil
	case "flood":
		line := strings.Repeat("f", 1000)
		for range e.N {
			fmt.Println(line)
		}
		return "flooded", nil
	case "memory":
		var all [][]byte
		for {
			b := make([]byte, 16<<20)
			for i := range b {
				b[i] = 1
			}
			all = append(all, b)
			_ = all
		}
	case "context": // what the SDK makes its context of
		data := map[string]string{}
		if err := json.Unmarshal([]byte(os.Getenv("RUNTIME_USERDATA")), &data); err != nil {
			return nil, err
		}
		h := req.Header
		return map[string]any{
			"id":      id,
			"left":    true,
			"name":    os.Getenv("RUNTIME_FUNC_NAME"),
			"version": os.Getenv("RUNTIME_FUNC_VERSION"),
			"package": os.Getenv("RUNTIME_PACKAGE"),
			"project": os.Getenv(
				"RUNTIME_PROJECT_ID",
			),
			"memory":  os.Getenv("RUNTIME_MEMORY"),
			"cpu":     os.Getenv("RUNTIME_CPU"),
			"timeout": os.Getenv("RUNTIME_TIMEOUT"),
			"data":    data["from"],
			"alias":   strings.TrimPrefix(h.Get("X-Cff-Origin-Version-Tag"), "!"),
			"keys": strings.Join(
				[]string{
					h.Get("X-CFF-Security-Access-Key"),
					h.Get("X-CFF-Security-Secret-Key"),
					h.Get("X-CFF-Security-Token"),
					h.Get("X-CFF-Auth-Token"),
				},
				" ",
			),
		}, nil
	case "memory limit":
		return debug.SetMemoryLimit(-1), nil
	case "headers":
		h := map[string]string{"GANTRY_FRAMES": os.Getenv("GANTRY_FRAMES")}
		for name := range req.Header {
			h[name] = req.Header.Get(name)
		}
		return h, nil
	}
	return nil, fmt.Errorf("unknown deed %q", e.Do)
}

func main() {
	switch os.Getenv("SDK_START") {
	case "never":
		time.Sleep(time.Hour)
	case "exit":
		return
	case "talk":
		fmt.Print(strings.Repeat("loading\n", 2000))
	case "slow":
		time.Sleep(300 * time.Millisecond)
	case "garbage":
		log.Fatal(http.ListenAndServe(os.Getenv("RUNTIME_API_ADDR"), http.NotFoundHandler()))
	}
	fmt.Println("loading")
	if err := rpc.RegisterName("Function", Function{}); err != nil {
		log.Fatal(err)
	}
	rpc.HandleHTTP()
	log.Fatal(http.ListenAndServe(os.Getenv("RUNTIME_API_ADDR"), nil))
}
