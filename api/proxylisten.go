package api

import "github.com/valyala/fasthttp"

// ListenProxy binds the function listener of an HTTP function: every request is one to the function's server. Bodies
// are limited to 6 MB each way, as on the platform, unless cfg says that they stream.
func ListenProxy(cfg *FunctionConfig) (*Server, error) {
	ln, err := listen("function", "GANTRY_ADDR", cfg.Addr)
	if err != nil {
		return nil, err
	}
	p := &proxyAPI{functionAPI: functionAPI{cfg}}
	route := p.serve
	if cfg.StreamIdle > 0 {
		route = p.stream
	}
	return newServer(&serverConfig{
		name: "function", ln: ln, bodyLimit: MaxEvent, streams: cfg.StreamIdle > 0, limits: cfg.Limits, log: cfg.Log,
		refuse: p.refuse, anyPath: true, wanted: func(h *fasthttp.RequestHeader) bool { return upgradeOf(h) == "" },
	}, route), nil
}
