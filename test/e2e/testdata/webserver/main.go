// Command webserver is a web server on PORT that says where it was started.
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	folder, err := os.Getwd()
	if err != nil {
		log.Fatal(err)
	}
	log.Print("listen: ", http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s in %s", r.URL.Path, folder) },
	)))
}
