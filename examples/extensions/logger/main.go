// Command extensionLogger is an extension in Go: it registers, and prints one line for each call of the function. What
// an extension prints becomes part of the log, prefixed with its name.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	ln, err := listen()
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /extension/invoke", invoked)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	if err := register(ln.Addr().String()); err != nil {
		return err
	}
	return <-ended
}

// listen takes the address in LOGGER_ADDR, or else the first free one of 127.0.0.1:8081 to 127.0.0.1:8090; each
// extension needs one of its own.
func listen() (net.Listener, error) {
	if addr := os.Getenv("LOGGER_ADDR"); addr != "" {
		return net.Listen("tcp", addr)
	}
	var errs []error
	for port := 8081; port <= 8090; port++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return ln, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// register announces this extension to the agent. Listen first, then register: calls may come at once.
func register(addr string) error {
	req, err := http.NewRequest(http.MethodPost, "http://"+os.Getenv("EXTENSION_API_ADDR")+"/extension/register", nil)
	if err != nil {
		return err
	}
	req.Header.Set("FunctionGraph-Extension-Name", filepath.Base(os.Args[0]))
	req.Header.Set("FunctionGraph-Extension-Address", addr)
	resp, err := (&http.Client{Timeout: 5 * time.Second}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		FunctionName string `json:"functionName"`
		ErrorInfo    struct {
			Type    string `json:"errorType"`
			Message string `json:"errorMessage"`
		} `json:"errorInfo"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("not registered: %s: %s", answer.ErrorInfo.Type, answer.ErrorInfo.Message)
	}
	fmt.Printf("registered with function %s\n", answer.FunctionName)
	return nil
}

func invoked(w http.ResponseWriter, r *http.Request) {
	var call struct {
		TraceID string `json:"traceId"`
		URN     string `json:"invokedFunctionUrn"`
	}
	if err := json.NewDecoder(r.Body).Decode(&call); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Printf("call %s of %s\n", call.TraceID, call.URN)
	w.WriteHeader(http.StatusOK)
}
