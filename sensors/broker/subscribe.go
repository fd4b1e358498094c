package broker

import "edgechain.example/mqttwire"

// subscribe takes a SUBSCRIBE: it is answered, and then the retained messages come that the filters cover.
func (b *Broker) subscribe(c *conn, p *mqttwire.Subscribe) error {
	if err := c.takesAnswer(p.Count); err != nil {
		return err
	}
	id := p.Properties.Number(mqttwire.SubscriptionIdentifier, 0)
	codes := make([]byte, 0, p.Count)
	var wanted []*recall
	for asked := range p.All() {
		filter := string(asked.Filter)
		sub := &subscription{s: c.sess, filter: filter, id: id, options: asked.Options}
		if !b.maySubscribe(c, filter) {
			b.stats.refused.Add(1)
			b.told.Warn("MQTT subscription refused", mqttwire.NotAuthorized.String(), "client", c.clientID, "user", c.user, "filter", filter)
			codes = append(codes, c.subackCode(mqttwire.NotAuthorized))
			continue
		}
		fresh, ok := b.tree.add(sub)
		if !ok && !c.sess.serves(c) {
			return errGone // its session may have ended: nothing is refused
		}
		if !ok {
			b.stats.refused.Add(1)
			b.told.Warn("MQTT subscription refused", mqttwire.QuotaExceeded.String(), "client", c.clientID, "user", c.user, "filter", filter)
			codes = append(codes, c.subackCode(mqttwire.QuotaExceeded))
			continue
		}
		codes = append(codes, asked.QoS)
		if _, _, shared := mqttwire.SplitShare(filter); !shared && (asked.RetainHandling == 0 || asked.RetainHandling == 1 && fresh) {
			wanted = append(wanted, newRecall(sub))
		}
	}
	b.kept.recalls(c.sess, wanted)
	b.kept.subscribed(c.sess)
	answer := mqttwire.Suback{ID: p.ID, Codes: codes}
	if err := c.send(answer.Append(c.version, mqttwire.SUBACK, nil)); err != nil {
		return err
	}
	c.sess.recall(c, wanted)
	return nil
}

// maySubscribe tells whether a client may subscribe to a filter. By Mosquitto's rules it always may, and hears what it may read.
func (b *Broker) maySubscribe(c *conn, filter string) bool {
	users := b.users.Load()
	return users != nil && users.filtered || b.may(c.user, c.clientID, filter, Subscribe)
}

// subackCode is a refusal's code, of which MQTT 3.1.1 has one.
func (c *conn) subackCode(code mqttwire.Reason) byte {
	if !c.v5 {
		return byte(mqttwire.UnspecifiedError)
	}
	return byte(code)
}

func (b *Broker) unsubscribe(c *conn, p *mqttwire.Unsubscribe) error {
	if err := c.takesAnswer(p.Count); err != nil {
		return err
	}
	codes := make([]byte, 0, p.Count)
	for filter := range p.All() {
		code := mqttwire.Success
		if !b.tree.remove(c.sess, string(filter)) {
			code = mqttwire.NoSubscriptionExisted
		}
		c.sess.unrecall(b, string(filter))
		codes = append(codes, byte(code))
	}
	answer := mqttwire.Suback{ID: p.ID, Codes: codes}
	return c.send(answer.Append(c.version, mqttwire.UNSUBACK, nil))
}
