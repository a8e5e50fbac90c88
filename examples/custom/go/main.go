// Command bootstrap is a custom runtime in Go with nothing but the standard library. Build it and run it with:
//
//	CGO_ENABLED=0 go build -o /tmp/custom/bootstrap ./examples/custom/go
//	bin/bootstrap serve --code /tmp/custom
//
// A function that imports gantry/function needs none of this: see examples/go.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

var api = "http://" + os.Getenv("RUNTIME_API_ADDR") + "/v1/runtime/invocation/"

// client has no overall limit: asking for an event takes until there is one.
var client = &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{Timeout: 3 * time.Second}).DialContext}}

func main() {
	fmt.Println("ready for", os.Getenv("RUNTIME_FUNC_NAME")) // what stands before the loop runs once
	for {
		if err := next(); err != nil {
			log.Print(err)
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// next takes one event and answers it.
func next() error {
	resp, err := client.Get(api + "request")
	if err != nil {
		return err
	}
	event, err := io.ReadAll(resp.Body)
	if err = firstOf(err, resp.Body.Close()); err != nil {
		return err
	}
	id := resp.Header.Get("X-Cff-Request-Id")
	if resp.StatusCode != http.StatusOK || id == "" {
		return fmt.Errorf("no event: %s", resp.Status)
	}
	result, err := handle(event)
	if err != nil {
		failure, _ := json.Marshal(map[string]string{"errorType": "error", "errorMessage": err.Error()}) // strings only
		return post("error/"+id, failure)
	}
	return post("response/"+id, result)
}

func post(path string, body []byte) error {
	resp, err := client.Post(api+path, "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	text, err := io.ReadAll(resp.Body)
	if err = firstOf(err, resp.Body.Close()); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, text)
	}
	return nil
}

// handle is the function.
func handle(event []byte) ([]byte, error) {
	var e struct{ Name string }
	if err := json.Unmarshal(event, &e); err != nil {
		return nil, err
	}
	return json.Marshal(
		map[string]any{
			"statusCode":      200,
			"headers":         map[string]string{},
			"body":            "Hello, " + e.Name,
			"isBase64Encoded": false,
		},
	)
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
