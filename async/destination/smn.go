package destination

import (
	"cmp"
	"context"
	"encoding/json"
	"net/url"
	"path"
)

// topic is SMN.
type topic struct{}

func (topic) check(p *param) error {
	return cmp.Or(needs(SMN, "topic_urn", p.TopicURN), checkName("topic_urn", p.TopicURN, maxTopic))
}

func (topic) endpoint(e *Endpoints) *Endpoint { return &e.SMN }

func (topic) file(_ *Sender, p *param, m *Message) string {
	return path.Join(p.TopicURN, m.RequestID+".json")
}

func (topic) chosen(p *param) string { return p.TopicURN }

func (topic) deliver(ctx context.Context, s *Sender, endpoint *Endpoint, p *param, m *Message) error {
	return s.publishTopic(ctx, endpoint, p.TopicURN, m.Text)
}

// publishTopic is SMN's message publication.
func (s *Sender) publishTopic(ctx context.Context, endpoint *Endpoint, topic string, text []byte) error {
	body, err := json.Marshal(map[string]string{"subject": "FunctionGraph " + s.Function.Name, "message": string(text)})
	if err != nil {
		return err
	}
	_, err = s.Post(
		ctx,
		endpoint,
		"/v2/"+url.PathEscape(s.projectOf(endpoint))+"/notifications/topics/"+url.PathEscape(topic)+"/publish",
		body,
	)
	return err
}
