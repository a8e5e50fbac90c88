package destination

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"path"

	"github.com/valyala/fasthttp"
)

// stream is DIS.
type stream struct{}

func (stream) check(p *param) error {
	return cmp.Or(needs(DIS, "stream_name", p.StreamName), checkName("stream_name", p.StreamName, maxStream))
}

func (stream) endpoint(e *Endpoints) *Endpoint { return &e.DIS }

func (stream) file(_ *Sender, p *param, m *Message) string {
	return path.Join(p.StreamName, m.RequestID+".json")
}

func (stream) chosen(p *param) string { return p.StreamName }

func (stream) deliver(ctx context.Context, s *Sender, endpoint *Endpoint, p *param, m *Message) error {
	return s.putRecord(ctx, endpoint, p.StreamName, m.RequestID, m.Text)
}

// putRecord is DIS's upload of records.
func (s *Sender) putRecord(ctx context.Context, endpoint *Endpoint, stream, id string, text []byte) error {
	body, err := json.Marshal(
		map[string]any{
			"stream_name": stream,
			"records":     []map[string]string{{"data": base64.StdEncoding.EncodeToString(text), "partition_key": id}},
		},
	)
	if err != nil {
		return err
	}
	answer, err := s.Post(ctx, endpoint, "/v2/"+url.PathEscape(s.projectOf(endpoint))+"/records", body)
	if err != nil {
		return err
	}
	var taken struct {
		Failed int `json:"failed_record_count"`
	}
	if json.Unmarshal(answer, &taken) == nil && taken.Failed > 0 {
		return &Refused{Status: fasthttp.StatusOK, Text: fmt.Sprintf("the stream did not take it: %.300q", answer)}
	}
	return nil
}
