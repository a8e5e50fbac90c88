<?php
// The rival: the handler of index.php behind PHP's built-in server, as one would write it by hand.
require_once __DIR__ . '/index.php';

$body = json_encode(handler(json_decode(file_get_contents('php://input')), null));
header('Content-Type: application/json');
header('Content-Length: ' . strlen($body)); // without it the end of an answer is the end of its connection
echo $body;
