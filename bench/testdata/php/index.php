<?php

function handler($event, $context)
{
    return ['statusCode' => 200, 'body' => $event->name];
}
