// Command empty is the least a Go program can do, to hold "bootstrap version" against.
package main

func main() {}
