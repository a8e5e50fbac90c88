package settings

// DefaultAPIGAddr is where the front in the place of API Gateway listens when it is asked for without an address.
const DefaultAPIGAddr = "127.0.0.1:8093"

// APIG holds the settings of the front in the place of API Gateway.
type APIG struct {
	Addr       string   // host:port; empty: no front
	RoutesFile string   // a JSON file, empty for none
	Origins    []string // in lower case
}
