// Command reverseproxy is a rival of HTTP functions: the reverse proxy of Go's standard library with kept connections,
// in front of a server. Its arguments are its own port and that of the server.
package main

import (
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
)

// kept is how many connections to the server stay open: no load of the benchmark has more.
const kept = 100

func main() {
	target := &url.URL{Scheme: "http", Host: "127.0.0.1:" + os.Args[2]}
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target); r.SetXForwarded() },
		Transport: &http.Transport{MaxIdleConnsPerHost: kept},
	}
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], proxy))
}
